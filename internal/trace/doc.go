// Package trace reads recordings of what the variables of a real program held
// after each of its steps (format OGT1), rebuilds them as live Go objects, and
// checks that objects which came back from somewhere else are still exactly
// what the recording says.
//
// The three parts know nothing of each other's memory, so that one can judge
// the others:
//
//   - Reader (reader.go) reads one Step after another and verifies the count,
//     the payload bytes and the check sum that end each step.
//   - World (world.go, build.go) applies steps to live Go objects. What the
//     recording shares is one Go object, and what the recording changes in
//     place is changed in place.
//   - Recording (recording.go) keeps only the recorded bytes; Sum (sum.go) walks
//     Go variables and a Recording in step and accepts nothing but equality, of
//     values and of identity both ways.
//
// Read objects.go for the Go form of each recorded kind.
package trace
