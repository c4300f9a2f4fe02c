package podder

import "fmt"

// panicked makes an error of what a function of the program panicked with. An
// error stays one, so that errors.Is finds it.
func panicked(v any) error {
	if err, ok := v.(error); ok {
		return fmt.Errorf("it panicked: %w", err)
	}
	return fmt.Errorf("it panicked: %v", v)
}
