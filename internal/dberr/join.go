package dberr

import "strings"

// joined is several errors in one line.
type joined []error

// Join is errors.Join with a text of one line: nil errors are left out, and
// none left is nil.
func Join(errs ...error) error {
	var list joined
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap lets errors.Is and errors.As look at all of them.
func (j joined) Unwrap() []error { return j }
