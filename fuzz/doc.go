// Package fuzz holds the campaigns: tests that drive the whole engine with
// random work on a file system that crashes, and compare what comes back with
// a model. Each test runs a bounded campaign under go test and a longer one by
// flag:
//
//	go test ./fuzz -run '^TestCrash' -v -args -images 20000 -seed 7
//
// Every campaign prints one line, CAMPAIGN name=… seed=…, with its counts; a
// failure prints the command that replays it.
package fuzz
