# Thin: what each target does is in scripts/ and xtask/.
.PHONY: help demo test lint release bench instructions fuzz soak docs replay backtest promise accidents

help:
	@echo "make demo       two releases on simulated customers: one rolled back, one promoted"
	@echo "make test       everything that must hold, SDKs and black box included"
	@echo "make lint       format, clippy, tidy, generated files, licences, docs"
	@echo "make release    the fastest binary, built by what a minute of clients showed of it: target/release/coalmine"
	@echo "make bench      against the direct path, nginx and the bare floor, in one run"
	@echo "make instructions  what a request costs in instructions of the processor, and where"
	@echo "make fuzz       each fuzz target for FUZZ_SECONDS (60), TARGETS='sse patch' for some; scripts/fuzz.sh --help"
	@echo "make soak       MINUTES (30) of hostile clients and a sick upstream: nothing lost, nothing rising"
	@echo "make docs       the book and the crates' docs"
	@echo "make replay     recorded generations, DATA=<folder>; JSON=1 for a machine"
	@echo "make backtest   recorded generations through a policy, DATA=<folder>; RUNS=200 splits and orders"
	@echo "make promise    false rollback, false promotion, detection; FULL=1, JSON=1, RELEASES=n, ONLY=sentinels"
	@echo "make accidents  what is decided where the evidence fails; JSON=1 for a machine"

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

lint:
	@scripts/lint.sh

release:
	@scripts/release.sh

bench:
	@scripts/bench.sh

instructions:
	@scripts/instructions.sh

fuzz:
	@FUZZ_SECONDS="$(or $(FUZZ_SECONDS),60)" TARGETS="$(TARGETS)" scripts/fuzz.sh

soak:
	@MINUTES="$(MINUTES)" scripts/soak.sh

docs:
	@scripts/docs.sh

replay:
	@DATA="$(DATA)" JSON="$(JSON)" scripts/replay.sh

backtest:
	@DATA="$(DATA)" RUNS="$(RUNS)" scripts/backtest.sh

promise:
	@FULL="$(FULL)" JSON="$(JSON)" RELEASES="$(RELEASES)" ONLY="$(ONLY)" scripts/promise.sh

accidents:
	@JSON="$(JSON)" scripts/accidents.sh
