# SPDX-License-Identifier: Apache-2.0
"""Images, calibration, transforms and bags in and out: what files and messages hold as the package's own types."""
