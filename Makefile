# What a contributor runs. Everything that CI runs is .ci/run.

.PHONY: check test lint golden bench long

check: ## what CI does: all of the below and more, about a quarter of an hour
	bash .ci/run

test: ## every test, on SQLite and, where a server is installed, on PostgreSQL
	go test ./...

lint: ## gofmt, vet and the linters of .golangci.yml, in the version that internal/tools pins
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	go tool -modfile=internal/tools/go.mod golangci-lint run ./...

golden: ## write the golden text of the public API anew, after a change that is meant
	go test ./internal/house -run TestGoldenAPI -update

bench: ## the public API beside hand-written floors, on both databases
	go run ./internal/bench -db sqlite
	go run ./internal/bench -db postgres

long: ## the long forms, for a night: a million steps of the isolation test, a million executions of each fuzz target, a million operations of each model on each database, a thousand kills, a hundred stops, twenty failovers
	PARTNERKIT_ISOLATION_STEPS=1000000 PARTNERKIT_FUZZ_TIME=1000000x bash .ci/run isolation fuzz
	PARTNERKIT_MODEL_OPERATIONS=1000000 go test ./license -run 'StateMachine$$' -count=1 -timeout 0 -v
	PARTNERKIT_CRASH_CYCLES=1000 PARTNERKIT_STOP_CYCLES=100 PARTNERKIT_FAILOVER_CYCLES=20 PARTNERKIT_PROCESS_CALLS=500 \
		go test ./license -run 'TestCrash_' -count=1 -timeout 0 -v
