# SPDX-License-Identifier: Apache-2.0
"""Drawing of tracks and writing of videos."""
