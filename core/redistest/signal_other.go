//go:build unix && !linux

package redistest

import (
	"syscall"
	"time"
)

// dieWithParent has no equivalent here: servers outlive a test's process that
// dies without cleaning up.
func dieWithParent() *syscall.SysProcAttr { return nil }

func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // no portable way to see when it has stopped
	return nil
}

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
