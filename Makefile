# `make demo` and `make test` do their own set-up; `make help` lists the rest. Another Python: make PYTHON=python3.12 …
.DEFAULT_GOAL := help
RUN := scripts/run
SYSTEM_PYTHON := $(or $(PYTHON),python3)
export PYTHON

.PHONY: help setup setup-jazzy

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## virtual environment with pinned packages, messages built with colcon
	@$(SYSTEM_PYTHON) scripts/environment.py

setup-jazzy:  ## the same with ROS 2 Jazzy, beside the first
	@$(SYSTEM_PYTHON) scripts/environment.py --jazzy
