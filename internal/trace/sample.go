package trace

import (
	"bytes"
	_ "embed"
	"io"
)

//go:embed testdata/sklearn_tweets.ogt.gz
var sample []byte

// SampleName is the program that Sample recorded.
const SampleName = "sklearn_tweets"

// Sample returns the recording that comes with the package: 32 steps of a text
// classification session with tables, arrays, estimators and 17,907 objects, free
// of cycles.
func Sample() io.Reader { return bytes.NewReader(sample) }
