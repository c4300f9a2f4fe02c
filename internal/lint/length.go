package lint

import (
	"strconv"
	"strings"
)

// Lengths from which a file or a function is worth a hard look.
const (
	LongFile     = 600
	LongFunction = 80
)

// Length reports files and functions, tests too, that are longer than a reader
// likes. It is a report: some tables are long and still one idea.
func Length(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if n := strings.Count(f.Source, "\n"); n > LongFile {
			found = append(found, Finding{f.Path, 0, lines(n)})
		}
		for _, fn := range f.functions() {
			if n := t.line(fn.End()) - t.line(fn.Pos()) + 1; n > LongFunction {
				found = append(found, t.at(f, fn, "%s: %s", fn.Name.Name, lines(n)))
			}
		}
	}
	return sorted(found)
}

func lines(n int) string { return strconv.Itoa(n) + " lines" }
