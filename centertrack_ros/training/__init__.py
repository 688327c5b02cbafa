# SPDX-License-Identifier: Apache-2.0
"""Training of CenterTrack networks by recipes, with Lightning."""
