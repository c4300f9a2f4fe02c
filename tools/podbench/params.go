package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// params are the numbers of a workload, given as -p name=value,name=value.
type params map[string]int64

// parseParams reads text over the defaults of a workload. Only parameters that
// have a default exist.
func parseParams(text string, defaults params) (params, error) {
	p := maps.Clone(defaults)
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q is not name=value", part)
		}
		if _, known := defaults[name]; !known {
			return nil, fmt.Errorf("unknown parameter %q; there are %s", name, defaults)
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("parameter %s: %q is no number from 0", name, value)
		}
		p[name] = n
	}
	return p, nil
}

// String writes the parameters in the form that parseParams reads.
func (p params) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, p[name]))
	}
	return strings.Join(parts, ",")
}
