//go:build unix && !linux

package redistest

import (
	"syscall"
	"time"
)

// dieWithParent does nothing here: servers outlive a test's process that dies without
// cleanup.
func dieWithParent() *syscall.SysProcAttr { return nil }

func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // there is no portable way to check that it has stopped
	return nil
}

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
