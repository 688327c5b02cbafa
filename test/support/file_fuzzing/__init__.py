# SPDX-License-Identifier: Apache-2.0
"""Mutated files for every reader of the package: each is read, or refused in one sentence that names the file.

`seeds` writes valid files, `mutators` changes them, `readers` is the table of all readers, `worker` tries files in a
process of its own, and `runner` starts that process and says which file it ended with.
"""
