//go:build !race

package podder

const raceEnabled = false
