# All commands of this project: make help

STACK ?= msupply-dhis2
SETTINGS ?= settings.yaml
EVENT ?= {"manual": true}
PLAN ?= dhis2-plan
# As they are: a password in an address may hold a dollar sign.
override EVENT := $(value EVENT)
override SOURCE := $(value SOURCE)
override DHIS2_URL := $(value DHIS2_URL)
export STACK SETTINGS EVENT PLAN SOURCE DHIS2_URL CREDENTIALS TIMEZONE YES CONSOLE

# Each stack has answers of its own (region, time zone, e-mail address): those of one country are not those of another.
ANSWERS := $(if $(filter msupply-dhis2,$(STACK)),samconfig.toml,samconfig.$(STACK).toml)

# The region that the stack was deployed to (sam deploy --guided writes it down) is that of every command.
REGION := $(shell sed -n '/^\[default/,/^\[local/s/^region *= *"\(.*\)"/\1/p' \
	$(firstword $(wildcard $(ANSWERS)) samconfig.toml) | head -n 1)
ifneq ($(REGION),)
export AWS_REGION ?= $(REGION)
endif
ifneq ($(AWS_REGION),)
# The only one that boto3 looks at.
export AWS_DEFAULT_REGION := $(AWS_REGION)
endif

# The processor of the stack, which sam deploy --guided writes down too: what is built must be for the same one.
TELL_PROCESSOR := { cat "$(ANSWERS)" 2>/dev/null; echo Architecture=x86_64; } | \
	sed -n 's/.*Architecture=[\"]*\([a-z0-9_]*\).*/\1/p' | head -n 1
PROCESSOR := $(shell $(TELL_PROCESSOR))

# uv installs Python's packages, and Python 3.13 itself where it is missing (.python-version). The one on the
# PATH is taken if it works: a shim of that name may be there and fail. Otherwise it is brought into .tools/.
UV_VERSION := 0.13.9
UV_HERE := .tools/uv/bin/uv
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo $(UV_HERE))
PYTHON ?= python3

RUN := $(UV) run --locked
COMMAND := $(RUN) msupply-dhis2
SAM := $(RUN) python -m sandbox.tools sam

.DEFAULT_GOAL := help

# uv itself would show an error of the name server.
.PHONY: ready
ready: $(UV)
	@$(UV) python find >/dev/null 2>&1 || $(UV) python install --quiet 2>/dev/null || { \
	echo "Python 3.13 is not on this machine, and cannot be fetched from the internet (github.com). Install Python 3.13, or let" \
	"this machine reach github.com, and try again. Behind a proxy, set HTTPS_PROXY." >&2; exit 1; }

.PHONY: help
help: ## Show what there is to make
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} \
		/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'STACK=name chooses another stack. Without it, each command is about msupply-dhis2.'

## On your own machine
.PHONY: demo
demo: ready ## Show the whole path on this machine; CONSOLE=yes: then its console; SOURCE=, DHIS2_URL=: on your own systems
	@$(RUN) python -m sandbox.demo

.PHONY: by-hand
by-hand: ready ## Preview, test the connection and push a sample in one process, without the emulator
	@$(RUN) python -m sandbox.by_hand

.PHONY: console
console: ready ## Open the DHIS2 tab of the stack in your browser; with SOURCE=, SETTINGS=, DHIS2_URL= that of other systems
	@$(COMMAND) console $(if $(SOURCE),--settings "$$SETTINGS" --source "$$SOURCE" $(if $(DHIS2_URL),--dhis2-url "$$DHIS2_URL") \
		$(if $(CREDENTIALS),--credentials "$$CREDENTIALS") $(if $(TIMEZONE),--timezone "$$TIMEZONE"),--stack "$$STACK")

# Some images of containers forbid Python to keep what it has compiled: every worker, and every command that a test
# runs, would compile all packages anew.
unexport PYTHONDONTWRITEBYTECODE

# Three at a time, also on two processors: some of the time is waiting for servers, and each worker has to find out what
# tests there are. A file's tests stay together.
TEST := $(RUN) pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: ready ## Run the fast tests; they must run nine of ten statements of the layer
	$(TEST) -m "not slow and not lint" --cov --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: test-slow
test-slow: ready ## Run all other tests: laws with all examples, every fault, the stack on the emulator, the benchmarks
	@# Those of the deployed stack, which wait most, begin first.
	$(TEST) -m "slow or law" --hypothesis-profile=slow

.PHONY: journeys
journeys: ready ## Try the console in a browser; ONLY=words: these journeys; SCREENSHOTS=yes: take the pictures of the docs anew
	$(if $(SCREENSHOTS),SCREENSHOTS=docs/console) $(RUN) pytest -q tests/e2e/test_console.py $(if $(ONLY),-k "$(ONLY)")

.PHONY: lint
lint: ready ## Check code (ruff, mypy), who imports whom (import-linter) and template (cfn-lint)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy --num-workers 2
	$(RUN) lint-imports --no-cache
	$(RUN) pytest -q tests/unit/test_template.py -m lint

.PHONY: audit
audit: ready ## Look for known vulnerabilities of the locked packages; with UNLESS_OFFLINE=yes it passes without a network
	@$(RUN) python -m sandbox.audit $(if $(UNLESS_OFFLINE),--unless-offline)

.PHONY: format
format: ready ## Format the code
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: bench
bench: ready ## Measure in five minutes; NATION=yes the rest; STORES=, ITEMS=, MOVEMENTS=, CUSTOMERS= set sizes, ONLY=compute chooses one
	@$(RUN) python -m benchmarks $(ONLY) $(if $(NATION),--nation) $(if $(STORES),--stores $(STORES)) $(if $(ITEMS),--items $(ITEMS)) \
		$(if $(MOVEMENTS),--movements $(MOVEMENTS)) $(if $(CUSTOMERS),--customers $(CUSTOMERS)) $(if $(REPEAT),--repeat $(REPEAT)) \
		$(if $(REPORT),--report "$(REPORT)")

.PHONY: load
load: ready ## Push a national sample under faults, and compare table, log and DHIS2; STORES=, ITEMS=, SEED=
	@LOAD_STORES=$(or $(STORES),360) LOAD_ITEMS=$(or $(ITEMS),130) LOAD_PAYLOAD=1000 LOAD_SEED=$(or $(SEED),20) \
		$(RUN) pytest -q tests/e2e/test_load_and_faults.py

.PHONY: setup
setup: ready ## Install everything (each other target does so too)
	$(UV) sync --locked

.PHONY: lock
lock: ready ## Take the newest allowed versions of all packages
	$(UV) lock --upgrade
	$(UV) export --quiet --no-dev --no-emit-project --no-header --no-annotate --output-file layers/common/requirements.txt

## On AWS
.PHONY: build
build: ready ## Build the functions and their layer
	$(SAM) build --parameter-overrides Architecture=$(PROCESSOR)
	@$(RUN) python -m sandbox.layer .aws-sam/build/CommonLayer/python

.PHONY: deploy
deploy: ready ## Build and deploy; it asks for region and time zone once, GUIDED=yes asks again
	@echo "$$STACK" | grep -Eq '^[A-Za-z][A-Za-z0-9-]{0,39}$$' && ! echo "$$STACK" | grep -Eiq '^(aws|ssm)' || { \
	echo "AWS would not take the name $$STACK for a stack and its resources. Choose one of at most 40 letters," \
	"digits and hyphens. It begins with a letter, but not with aws or ssm: make deploy STACK=name" >&2; exit 1; }
	@test -f "$(ANSWERS)" || sed -e '/^region *=/d' -e '/^parameter_overrides *=/d' \
		-e 's/^stack_name *=.*/stack_name = "$(STACK)"/' samconfig.toml >"$(ANSWERS)"
	@$(MAKE) --no-print-directory build
	@if [ -z "$(GUIDED)" ] && sed -n '/^\[default.deploy/,/^\[/p' "$(ANSWERS)" | grep -q '^parameter_overrides'; \
	then $(SAM) deploy --stack-name "$$STACK" --config-file "$(CURDIR)/$(ANSWERS)"; \
	else $(SAM) deploy --stack-name "$$STACK" --config-file "$(CURDIR)/$(ANSWERS)" --guided; fi
	@now=$$($(TELL_PROCESSOR)); test "$$now" = "$(PROCESSOR)" || { \
	echo "You chose the processor $$now, but the build was for $(PROCESSOR). It is built and deployed again."; \
	$(MAKE) --no-print-directory deploy GUIDED=; }

.PHONY: credentials
credentials: ready ## Enter the login of DHIS2 (OAUTH2=yes: with a client) and the address of mSupply's database
	@$(COMMAND) credentials --stack "$$STACK" $(if $(OAUTH2),--oauth2)

.PHONY: settings
settings: ready ## Check settings.yaml (or SETTINGS=file) and upload it
	@$(COMMAND) settings upload "$$SETTINGS" --stack "$$STACK"

.PHONY: metadata-plan
metadata-plan: ready ## Plan DHIS2's data elements, data set and dashboard into PLAN=folder; CREDENTIALS=file: by an administrator's login
	@$(COMMAND) metadata plan --out "$$PLAN" $(if $(SHAPE),--shape "$(SHAPE)") $(if $(ACCESS),--access) $(if $(UPDATE),--update) \
		$(if $(CREDENTIALS),--credentials "$$CREDENTIALS") $(if $(DHIS2_URL),--dhis2-url "$$DHIS2_URL") \
		$(if $(SOURCE),--settings "$$SETTINGS" --source "$$SOURCE" $(if $(TIMEZONE),--timezone "$$TIMEZONE"),--stack "$$STACK")

.PHONY: metadata-apply
metadata-apply: ready ## Import PLAN=folder into DHIS2; it asks for an administrator's login (or CREDENTIALS=file) and the server's name
	@$(COMMAND) metadata apply "$$PLAN" $(if $(ACCESS),--access) $(if $(UPDATE),--update) $(if $(YES),--yes) \
		$(if $(CREDENTIALS),--credentials "$$CREDENTIALS") $(if $(DHIS2_URL),--dhis2-url "$$DHIS2_URL") \
		$(foreach name,$(SERVER_SETTINGS),--server-settings $(name))

.PHONY: test-connection
test-connection: ready ## Let the stack test DHIS2 and mSupply's database
	@$(COMMAND) test-connection --stack "$$STACK"

.PHONY: push
push: ready ## Push all active metrics now; AS_SCHEDULED=yes: each row on its own basis; EVENT=json: another event
	@$(COMMAND) push --event "$$EVENT" $(if $(AS_SCHEDULED),--as-scheduled) --stack "$$STACK"

.PHONY: logs
logs: ready ## Show what the functions logged in the last hour, and what they log from now on
	@$(COMMAND) logs --follow --stack "$$STACK"

.PHONY: dead-letters
dead-letters: ready ## List the batches that could not be delivered; RUN_ID=id, REASON=words choose some
	@$(COMMAND) dead-letters $(if $(RUN_ID),--run "$(RUN_ID)") $(if $(REASON),--reason "$(REASON)") --stack "$$STACK"

.PHONY: watchdog
watchdog: ready ## Check now that each run took place and ended; the stack does so every day
	@$(COMMAND) watchdog --stack "$$STACK"

.PHONY: redrive
redrive: ready ## Send dead letters again, after the cause is fixed; RUN_ID=id, REASON=words choose some
	@$(COMMAND) redrive $(if $(RUN_ID),--run "$(RUN_ID)") $(if $(REASON),--reason "$(REASON)") --stack "$$STACK"

.PHONY: pause
pause: ready ## Stop sending to DHIS2; values wait for at most ten days; REASON=words
	@$(COMMAND) pause $(if $(REASON),--reason "$(REASON)") --stack "$$STACK"

.PHONY: resume
resume: ready ## Go on sending after make pause
	@$(COMMAND) resume --stack "$$STACK"

.PHONY: stop
stop: ready ## Stop the run RUN_ID=id: the rest of it is not sent
	@test -n "$(RUN_ID)" || { echo "Name the run: make stop RUN_ID=20260205T153000Z-monthly-1f0c2a9b" >&2; exit 2; }
	@$(COMMAND) stop "$(RUN_ID)" --stack "$$STACK"

.PHONY: delete
delete: ready ## Delete the stack with its secrets and logs; settings, table and files of the runs stay
	@$(COMMAND) before-delete --stack "$$STACK"
	$(SAM) delete --stack-name "$$STACK" --config-file "$(CURDIR)/$(firstword $(wildcard $(ANSWERS)) samconfig.toml)"

$(UV_HERE):
	@$(PYTHON) -m venv .tools/uv && \
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) 2>.tools/uv/why || { \
	tail -n 1 .tools/uv/why; echo "uv, which installs everything else, is not on this machine, and cannot be fetched (pypi.org)." \
	"Install uv, or let this machine reach pypi.org, and try again. Behind a proxy, set HTTPS_PROXY."; exit 1; } >&2
