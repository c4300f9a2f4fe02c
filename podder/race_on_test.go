//go:build race

package podder

const raceEnabled = true
