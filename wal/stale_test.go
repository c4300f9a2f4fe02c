package wal

import (
	"context"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// A log is stale exactly at and behind the end of its last group, however many
// segments it has, and also when the segment that its end names is gone.
func TestStaleIsALogWithNothingBehind(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	l, _, _, err := openLog(o, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends []LSN
	for range 40 {
		done := make(chan LSN, 1)
		if err := l.Submit([][]byte{make([]byte, 300)}, func(end LSN, err error) { done <- end }); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, <-done)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(from LSN, want bool) {
		t.Helper()
		if got, err := Stale(context.Background(), o, from); err != nil || got != want {
			t.Errorf("stale at %d = %v, %v; want %v", from, got, err, want)
		}
	}
	last := ends[len(ends)-1]
	for _, end := range ends[:len(ends)-1] {
		check(end, false)
	}
	check(last, true)
	check(last+1024, true)
	numbers, _, err := listDir(fs, testDir)
	if err != nil || len(numbers) < 3 {
		t.Fatalf("%d segments, %v: too few for this test", len(numbers), err)
	}
	// The first segment comes back alone: its removal was never durable.
	for _, n := range numbers[1:] {
		if err := fs.Remove(segmentInfo{number: n}.path(testDir)); err != nil {
			t.Fatal(err)
		}
	}
	check(last, true)
	check(FirstLSN, false)
}

// A new log's first segment comes after every segment of the one before it.
func TestANewLogIsNumberedBehindTheOneBefore(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	from, highest := FirstLSN, uint64(0)
	for range 5 {
		l, _, _, err := openLog(o, from)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			done := make(chan LSN, 1)
			if err := l.Submit([][]byte{[]byte("x")}, func(end LSN, err error) { done <- end }); err != nil {
				t.Fatal(err)
			}
			from = <-done
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		numbers, _, err := listDir(fs, testDir)
		if err != nil {
			t.Fatal(err)
		}
		if numbers[0] <= highest {
			t.Fatalf("log begins with segment %d, but there was a segment %d before", numbers[0], highest)
		}
		highest = numbers[len(numbers)-1]
		if err := Remove(fs, testDir); err != nil {
			t.Fatal(err)
		}
	}
}
