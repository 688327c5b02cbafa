# SPDX-License-Identifier: Apache-2.0
# The ROS wheels on PyPI export the Python and NumPy include folders of the machine they were built on, with every
# imported target that ends in __rosidl_generator_py. Put this machine's in their place; on a machine with a ROS
# distribution the two are the same.
find_package(Python3 REQUIRED COMPONENTS Interpreter Development NumPy)

get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(imported_target IN LISTS imported_targets)
  if(imported_target MATCHES "__rosidl_generator_py$")
    set_property(TARGET "${imported_target}" PROPERTY
      INTERFACE_INCLUDE_DIRECTORIES "${Python3_INCLUDE_DIRS}" "${Python3_NumPy_INCLUDE_DIRS}")
  endif()
endforeach()
