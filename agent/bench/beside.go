//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// calls measures a program that does almost nothing but system calls.
type calls struct {
	kind, name string
	n          int
	limit      float64
}

func (c calls) alone(ctx context.Context, l *lab) (s sample, err error) {
	n := max(1, int(float64(c.n)*l.scale))
	h, err := start(ctx, load{command: []string{l.self, callsCommand, c.kind, filepath.Join(l.dir, "calls"), strconv.Itoa(n)}})
	if err != nil {
		return s, err
	}
	defer h.end()
	if err := h.release(); err != nil {
		return s, err
	}
	s.Value, err = h.seconds()
	err = errors.Join(err, h.finish())
	s.LoadCPU = h.cpu()
	return s, err
}

func (c calls) beside(ctx context.Context, l *lab) (sample, error) {
	return besideSession(ctx, l, func() (sample, error) { return c.alone(ctx, l) })
}

// besideNothing attaches eBPF programs that do nothing: the least that a sensor at these
// tracepoints can cost.
func (c calls) besideNothing(ctx context.Context, l *lab) (_ sample, err error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nothing", Type: ebpf.RawTracepoint, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return sample{}, fmt.Errorf("load a program that does nothing: %w", err)
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	for _, name := range []string{"sys_enter", "sys_exit"} {
		attached, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: program})
		if err != nil {
			return sample{}, fmt.Errorf("attach to %s: %w", name, err)
		}
		defer attached.Close() //nolint:gocritic // two
	}
	return c.alone(ctx, l)
}

// besideSession calls fn while a session watches an idle program.
func besideSession(ctx context.Context, l *lab, fn func() (sample, error)) (s sample, err error) {
	return l.withStage(ctx, stageOptions{content: 256}, func(st *stage) (s sample, err error) {
		idler, err := start(ctx, load{command: []string{"sh", "-c", "read -r go"}})
		if err != nil {
			return s, err
		}
		defer idler.end()
		id, err := st.session(ctx, []int{idler.pid()}, func(string) (err error) {
			s, err = fn()
			return err
		})
		if err != nil {
			return s, err
		}
		c, err := st.counts(ctx, id, "")
		if err == nil && c.Lost > 0 {
			s.Faults = append(s.Faults, "a session without events reports losses")
		}
		return s, err
	})
}
