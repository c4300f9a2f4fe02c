// Package graph makes random object graphs and compares them. It knows nothing
// of the database: what it proves, it proves of Go memory.
//
// A Family is a set of types, random ones beside hand-written ones (zoo.go). A
// World is a set of variables over a family and changes them at random, step by
// step, by nothing but what the program can see: sharing, cycles, pointers into
// objects and arrays, overlapping slices, maps under any keys. Compare walks two
// graphs in step and says where they differ.
package graph
