# What contributors and CI run. `make help` lists the targets.
# Tool versions are pinned here and nowhere else.
GO          ?= go
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0
APIDIFF     := golang.org/x/exp/cmd/apidiff@v0.0.0-20261113113407-e3970619a1a4

FUZZTIME  ?= 10s
BENCH     ?= .
BENCHTIME ?= 1s
COUNT     ?= 1

# Of the tests of one package. Machines differ by a factor of five.
TIMEOUT   ?= 30m

# The race detector needs cgo, and cgo a C compiler.
CC_FOUND := $(shell command -v $${CC:-cc} 2>/dev/null || command -v gcc 2>/dev/null)
ifeq ($(CC_FOUND),)
RACE :=
else
RACE := race
endif

# Everything else is built as the program is, so that what was compiled for one target
# serves the others.
export CGO_ENABLED := 0

CROSS := darwin/arm64 windows/amd64 linux/arm64

.PHONY: help build beam beam-lint test race test32 sweeps check fmt vet tidy cross fuzz fuzz-short mutate crash random conversions bench generate golden pictures vuln api interop site compare release release-test deb-test clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/wtinspect, and bin/wtinspect-parquet, which it starts for scan -f parquet
	$(GO) build -trimpath -o bin/wtinspect ./cmd/wtinspect
	$(GO) build -trimpath -tags=parquet -o bin/wtinspect-parquet ./cmd/wtinspect

# Beam is a module of its own: what it needs is fetched here alone.
BEAM_RELEASES ?= 60

beam: ## build bin/wtinspect-beam, scan as a pipeline of Apache Beam, and test it (network, the first time)
	@cd beam && if ! $(GO) mod download; then \
		echo "the modules that beam/ needs cannot be fetched: wtinspect-beam is neither built nor tested"; exit 0; fi && \
	set -ex && $(GO) mod tidy -diff && \
	$(GO) build -ldflags="-s -w" -o ../bin/wtinspect-beam ./cmd/wtinspect-beam && \
	BEAM_RELEASES=$(BEAM_RELEASES) $(GO) test -v -timeout=$(TIMEOUT) -shuffle=on ./...

# For another system, all that Beam needs is compiled a second time.
beam-lint: ## vet beam/ on Linux and for Windows, and run staticcheck there (network, the first time)
	cd beam && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && GOOS=windows $(GO) vet ./...

test: ## run the tests, shuffled, with a part of each sweep
	$(GO) test -timeout=$(TIMEOUT) -vet=off -shuffle=on ./...
	$(GO) test -vet=off -tags=parquet -run='^TestScripts$$/^scan' ./cmd/wtinspect

# What a test tries a part of (internal/sweep): every pair of conventions, every form of a
# model, every command in every form, thousands of seeds.
sweeps: ## run the tests with all of each sweep (an hour)
	WTINSPECT_SWEEPS=1 $(GO) test -timeout=180m -vet=off ./...

# -short leaves out what the race detector has nothing to find in: long sweeps of one
# goroutine, and the tests of the installed program, which is built without it. What
# runs in several goroutines must not look at -short, or do less of the same.
#
# There is nothing to find either in packages that start no goroutine, in code or in a
# test, and hand nothing to values.Run, which does.
STARTS := ^[[:space:]]*go (func\(|[a-zA-Z.]+\()|\.Go\(|\.Parallel\(\)|values\.Run\(
RACY   = $(shell grep -rlE --include='*.go' --exclude-dir=beam --exclude-dir=testdata '$(STARTS)' . | xargs -n 1 dirname | sort -u)

race: ## run the tests of what has goroutines under the race detector, without long sweeps
	CGO_ENABLED=1 $(GO) test -timeout=$(TIMEOUT) -race -short -vet=off -shuffle=on $(RACY)

check: fmt vet tidy test32 cross test $(RACE) fuzz-short ## everything CI checks
ifeq ($(RACE),)
	@echo "no C compiler found: nothing ran under the race detector"
endif

fmt: ## fail when a file is not gofumpt-formatted
	@out=$$($(GO) run $(GOFUMPT) -l .) || exit 1; \
	if [ -n "$$out" ]; then echo "not gofumpt-formatted:"; echo "$$out"; exit 1; fi

# The build for macOS, below, compiles what vet would look at there.
vet: ## go vet and staticcheck, on Linux and for Windows
	$(GO) vet ./...
	$(GO) vet -tags=parquet ./cmd/wtinspect
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags=parquet ./cmd/wtinspect
	GOOS=windows $(GO) vet ./...

tidy: ## fail when go.mod or go.sum is not tidy
	$(GO) mod tidy -diff
	$(GO) mod verify

# On a 32-bit processor numbers have less room: sizes, offsets, counts, shapes. These
# packages have none, or only those that others give them; of the program, what runs its commands is enough.
WORDS := browse page render report policy site release peers layers argv stores foreign hubtest plural exchange infer match identify compile

test32: ## build for a 32-bit processor, and test what counts bytes and elements
	GOARCH=386 $(GO) build ./...
	GOARCH=386 $(GO) test -timeout=$(TIMEOUT) -short -vet=off $$($(GO) list ./... | grep -vE "/($$(echo $(WORDS) | tr ' ' '|')|cmd/wtinspect)$$")
	GOARCH=386 $(GO) test -timeout=$(TIMEOUT) -short -vet=off -run='^Test(Scripts|RandomFiles|RandomMaps|Mutations|Huge.*)$$' ./cmd/wtinspect

cross: ## build for the other platforms
	@for p in $(CROSS); do \
		echo "build $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -tags=parquet -o /dev/null ./cmd/wtinspect || exit 1; \
	done

# A package with targets is built once. As many targets as there are processors run at
# a time, each with one worker; the output of one that fails is printed.
#
# Before Go 1.27 a run can end with "context deadline exceeded" when its time is up,
# with no input to blame (go.dev/issue/75804). Such a run found nothing and is done
# again, at most twice.
FUZZJOBS ?= $(shell getconf _NPROCESSORS_ONLN)

# Everything that has targets.
FUZZED = $(shell grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u)

# What bytes of strangers reach first, and what needs little else that would have to be
# compiled for fuzzing.
READERS := ./safetensors ./gguf ./pytorch ./internal/numpy ./internal/jsondoc ./internal/txn ./rename ./rename/template ./checkpoint

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@mkdir -p bin/fuzz && cache=$$($(GO) env GOCACHE)/fuzz && \
	for dir in $(FUZZED); do \
		bin=$(CURDIR)/bin/fuzz/$$(echo $${dir#./} | tr / -).test; \
		$(GO) test -c -fuzz=. -o $$bin $$dir || exit 1; \
		for f in $$($$bin -test.list='^Fuzz'); do echo $$dir $$bin $$f; done; \
	done >bin/fuzz/targets && \
	xargs -n 3 -P $(FUZZJOBS) sh -c 'cd $$0 && for try in 1 2 3; do \
			if out=$$($$1 -test.run="^$$" -test.fuzz="^$$2$$" -test.fuzztime=$(FUZZTIME) -test.parallel=1 -test.fuzzcachedir='$$cache'/$$0/$$2 2>&1); \
			then echo "fuzz $$0 $$2: ok"; exit 0; fi; \
			case $$out in \
			*"Failing input"*) break;; \
			*"context deadline exceeded"*) ;; \
			*) break;; \
			esac; \
		done; \
		echo "fuzz $$0 $$2: failed"; echo "$$out"; exit 1' <bin/fuzz/targets

fuzz-short: ## run the fuzz targets of what reads files for 2 seconds each
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2s FUZZED="$(READERS)"

MUTATIONS ?= 20000
SEED      ?= 0

mutate: ## run commands over MUTATIONS (20000) releases mutated at random, from SEED (0) on
	WTINSPECT_MUTATIONS=$(MUTATIONS) WTINSPECT_SEED=$(SEED) $(GO) test -timeout=60m -run='^TestMutations$$' ./cmd/wtinspect

# Killed, switched off, signalled, out of room and interfered with at every call that
# changes files, each so often, on file systems of its own (as root, with mkfs.ext4,
# mkfs.xfs and mkfs.btrfs; what cannot be mounted is skipped). For all there is:
# make crash KILLS=6000 SHUTDOWNS=5000 SIGNALS=1300 MEDDLINGS=9000 ROUNDS=1000 FULL=8000
# A scan that is killed takes a second or two to begin again: it has a fifth of the kills.
KILLS     ?= 200
SHUTDOWNS ?= 36
SIGNALS   ?= 50
MEDDLINGS ?= 80
ROUNDS    ?= 30
FULL      ?= 80

crash: ## interrupt the program at every call that changes files, and recover
	WTINSPECT_KILLS=$(KILLS) WTINSPECT_SHUTDOWNS=$(SHUTDOWNS) WTINSPECT_SIGNALS=$(SIGNALS) WTINSPECT_MEDDLINGS=$(MEDDLINGS) \
	WTINSPECT_ROUNDS=$(ROUNDS) WTINSPECT_FULL=$(FULL) $(GO) test -v -timeout=120m \
		-run='^(TestKillAtEveryCall|TestPowerLoss|TestSignalAtEveryCall|TestOtherProgram|TestTwoProcesses|TestFullDisk)$$' ./cmd/wtinspect
	WTINSPECT_KILLS=$(KILLS) WTINSPECT_SHUTDOWNS=$$(($(SHUTDOWNS) / 12)) $(GO) test -v -timeout=120m -run='^(TestKill|TestShutdown)$$' ./checkpoint/rewrite ./checkpoint/assemble
	WTINSPECT_KILLS=$$(($(KILLS) / 5)) $(GO) test -v -timeout=120m -run='^TestKill$$' ./internal/tables

# So many random files, and twice as many random maps.
FILES ?= 600

random: ## compare commands on random and huge files with an independent reader
	WTINSPECT_RANDOM=$(FILES) $(GO) test -timeout=60m -run='^(TestRandom|TestHuge|TestMillion)' ./cmd/wtinspect

conversions: ## try every conversion below every wrapper, of adapters too: what comes of it is identified as what it is to be
	WTINSPECT_SWEEPS=1 $(GO) test -timeout=60m -run='^TestConverted(Adapter)?IsIdentified$$' -v ./inspect

bench: ## run every benchmark once, comparisons beside them
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchtime=$(BENCHTIME) -benchmem -count=$(COUNT) -timeout=60m ./...

generate: ## write what is made of the conventions' files and of the types of answers
	$(GO) generate ./rename/convention
	$(GO) test ./rename/convention/internal/compile -run='^Test(Text|RolesPage)$$' -update
	$(GO) test ./rename/convention -run=TestDocs -update
	$(GO) test ./inspect -run='^TestSchemas$$' -update

golden: ## rewrite the golden output of scripts and documents
	$(GO) test ./internal/browse -run='^Test(Journeys|Picture)$$' -update
	$(GO) test ./internal/page -update
	$(GO) test ./cmd/wtinspect -args -update

pictures: ## draw the pictures of the documents again
	$(GO) test ./cmd/wtinspect -run='^TestPictures$$' -args -update
	$(GO) test ./internal/browse -run='^TestPicture$$' -args -update

interop: ## let independent readers read what was written (npm, network)
	sh testdata/interop/run.sh

# So many turns for each table. Other work on the machine shows in the figures.
TURNS ?= 9

compare: build ## measure other programs on the same files, and write docs/compare.md (Python with NumPy, npm, network)
	$(GO) build -o bin/peers ./internal/peers
	bin/peers -program bin/wtinspect -runs $(TURNS) -o docs/compare.md

site: build ## make the documentation site in dist/site; fails on a dead link
	rm -rf dist/site
	$(GO) run ./internal/site -program bin/wtinspect -o dist/site

# What docs/stability.md says of the Go API is held to by reading this before a release.
BASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null)

api: ## list what changed in the Go API since BASE (the latest version)
	@test -n "$(BASE)" || { echo "no version has been released; make api BASE=COMMIT"; exit 1; }
	@old=$$(mktemp -d) && trap 'rm -rf $$old' EXIT && git archive $(BASE) | tar -x -C $$old && \
	(cd $$old && $(GO) run $(APIDIFF) -m -w $$old/api github.com/wtinspect/wtinspect) && \
	$(GO) run $(APIDIFF) -m $$old/api github.com/wtinspect/wtinspect

# The version of a release begins with v: make release VERSION=v0.1.0.
VERSION ?=

release: ## build the files of a release, VERSION, into dist/ (needs a clean checkout)
	$(GO) run ./internal/release -version "$(VERSION)" -o dist

# With caches of its own, under another umask, time zone and language, from another
# directory: several minutes.
release-test: ## build a release twice in different surroundings, and compare
	WTINSPECT_RELEASE=1 $(GO) test -v -timeout=60m -run='^TestTwice$$' ./internal/release

deb-test: ## install the package in dist/ in a fresh Debian, use it, and remove it (root, debootstrap, network)
	sh internal/release/deb-test.sh dist/wtinspect_*_$$(dpkg --print-architecture).deb

vuln: ## look for known vulnerabilities (needs the vulnerability database)
	$(GO) run $(GOVULNCHECK) ./...
	cd beam && $(GO) run $(GOVULNCHECK) ./...

clean: ## remove what was built
	rm -rf bin dist
