package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"
)

// A small-object store runs in a process of its own, so that nobody's heap or
// background work counts for another. The process loads the store, writes how
// long that took, and then answers each kvOrder on stdin with a kvResult.

// kvHelper is that process. spec is a kvSpec as JSON.
func kvHelper(ctx context.Context, text string) (err error) {
	var spec kvSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	store, err := openKV(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	start := time.Now()
	if err := store.load(ctx, spec.Keys); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(time.Since(start).Seconds()); err != nil {
		return err
	}
	runtime.GC()
	debug.FreeOSMemory()
	if spec.Profile != "" {
		f, err := os.Create(spec.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var o kvOrder
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		res, err := runOrder(ctx, store, spec, o)
		if err != nil {
			res.Error = err.Error()
		}
		if err := out.Encode(res); err != nil {
			return err
		}
	}
}

// kvChild is a running helper process with a store.
type kvChild struct {
	spec kvSpec
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
	load float64 // seconds that loading took
}

func startKV(ctx context.Context, spec kvSpec) (*kvChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c := &kvChild{spec: spec, cmd: exec.CommandContext(ctx, self, "helper", "kv", string(text))}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.to, c.from = json.NewEncoder(c.in), json.NewDecoder(bufio.NewReader(out))
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.from.Decode(&c.load); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: loading %d objects: %w", spec.System, spec.Keys, err), c.stop())
	}
	return c, nil
}

// order has the store do a round of work.
func (c *kvChild) order(o kvOrder) (kvResult, error) {
	var res kvResult
	err := c.to.Encode(o)
	if err == nil {
		err = c.from.Decode(&res)
	}
	if err == nil && res.Error != "" {
		err = errors.New(res.Error)
	}
	if err != nil {
		return res, fmt.Errorf("%s: %w", c.spec.System, err)
	}
	return res, nil
}

func (c *kvChild) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}
