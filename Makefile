# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` do their own set-up; `make help` lists the rest. Another Python: make PYTHON=python3.12 …
.DEFAULT_GOAL := help
RUN := tools/run
SYSTEM_PYTHON := $(or $(PYTHON),python3)
export PYTHON
# COVERAGE=1 make test measures which statements the tests run; `make coverage` prints it.
PYTEST := python $(if $(COVERAGE),-m coverage run )-m pytest

.PHONY: help setup setup-tests setup-docs setup-kilted demo demo-3d bench bench-quick paper-tables paper-tables-quick paper-claim quality test test-slow test-kilted test-installed fuzz signals soak overload coverage docs lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## virtual environment with pinned packages, messages built with colcon
	@$(SYSTEM_PYTHON) tools/environment.py

setup-tests:  ## the same with the packages that only tests and checks need
	@$(SYSTEM_PYTHON) tools/environment.py --tests

setup-docs:  ## the same with the packages that build the documentation
	@$(SYSTEM_PYTHON) tools/environment.py --docs

setup-kilted:  ## the same with ROS 2 Kilted, beside the first
	@$(SYSTEM_PYTHON) tools/environment.py --kilted --tests

demo: setup  ## real clip -> DDS -> node -> boxes, ids, trails: video, MOT tracks and a table in out/demo
	@$(RUN) centertrack demo $(ARGS)

demo-3d: setup  ## the same with a synthetic drive and the 3D model: out/demo-3d (ARGS=--depth, ARGS=--points: with sensors)
	@$(RUN) centertrack export mobilenetv3-street-3d --build-only
	@$(RUN) centertrack demo --street --output out/demo-3d $(ARGS)

bench-quick: setup  ## the network's speed in every engine against the official way; one line of JSON at the end
	@$(RUN) python -m benchmarks.bench --quick $(ARGS)

bench: setup  ## all tables: engines, sizes, cameras, and what the node and the tracking cost beside the network
	@$(RUN) python -m benchmarks.bench $(ARGS)
	@$(RUN) python -m benchmarks.tracking_cost
	@$(RUN) python -m benchmarks.node_overhead
	@$(RUN) python -m benchmarks.precision

paper-tables-quick: setup  ## the paper's ablations on held-out synthetic streets: docs/paper_tables.md, in under 20 minutes on two cores
	@$(RUN) python -m experiments.paper_tables --quick $(ARGS)

paper-tables: setup  ## the same with more and longer streets and two more frame rates (some three hours)
	@$(RUN) python -m experiments.paper_tables $(ARGS)

paper-claim: setup  ## the paper's main claim alone on up to 1000 streets: docs/paper_claim.md, in 77 minutes on two cores
	@$(RUN) python -m experiments.paper_tables --claim $(ARGS)

quality: setup  ## what a user sees, before and after: ids, leaps, double boxes, a truck in the rain (DATA=folder, CLIPS=folder)
	@$(RUN) python -m experiments.quality $(or $(DATA),$(error DATA=folder of the data sets, see docs/evaluation.md)) $(if $(CLIPS),--clips $(CLIPS)) $(ARGS)

test: setup-tests  ## the quick tests (ARGS=… goes to pytest)
	@$(RUN) $(PYTEST) -m "not slow" $(ARGS)

test-slow: setup-tests  ## the tests that take long
	@$(RUN) $(PYTEST) -m slow $(ARGS)

test-installed: setup-tests  ## builds with colcon and tests with the command ros2: needs a sourced ROS 2
	@$(RUN) python -m pytest -rs test/installed $(ARGS)

fuzz: setup-tests  ## ten thousand malformed messages into the node, ten thousand mutated files through every reader
	@$(RUN) python -m pytest -s test/io/test_file_fuzzing.py test/ros/test_fuzzing.py test/ros/test_fuzzed_boxes.py test/ros/test_sensor_fuzzing.py $(ARGS)

signals: setup-tests  ## SIGINT, SIGTERM and SIGHUP to the node in every order and at every moment, ROUNDS=20 times each: 20 minutes
	@SIGNAL_ROUNDS=$(or $(ROUNDS),20) $(RUN) python -m pytest -m slow test/ros/test_signals.py $(ARGS)

soak: setup  ## the demo clip in a loop for MINUTES=10, with a faulty driver beside it: memory, results, ids, latency
	@$(RUN) python -m support.soak --minutes $(or $(MINUTES),10) $(ARGS)

overload: setup  ## latency and drops when images come ten times as fast as the network can follow
	@$(RUN) python -m benchmarks.overload $(ARGS)

test-kilted: setup-kilted  ## the ROS tests on ROS 2 Kilted
	@$(RUN) --kilted python -m pytest test/ros test/io test/replay test/cli/test_demo.py -m "ros and not slow" $(ARGS)

coverage: setup-tests  ## statements that `COVERAGE=1 make test-slow test` ran, by module; fails below the limit of pyproject.toml
	@$(RUN) python -m tools.check_coverage

docs: setup-docs  ## the documentation as HTML in out/docs: guides, messages, parameters, commands, API
	@$(RUN) python -m tools.build_docs $(ARGS)

lint: setup-tests  ## ruff (format and lint), mypy on the package, experiments, benchmarks and tools, hadolint on the Dockerfile
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) python -m tools.check_spdx
	@$(RUN) hadolint docker/Dockerfile

clean:  ## remove both environments and every build output
	rm -rf .venv .venv-* build install log dist out *.egg-info .coverage .coverage.*
