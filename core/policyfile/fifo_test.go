//go:build unix

package policyfile

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A pipe in place of the file never ends. Nothing waits for it.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	const want = ": is not a regular file: copy what it gives to one, or read it yourself and use Parse"
	if _, err := Read(path); err == nil || err.Error() != "policyfile: "+path+want {
		t.Errorf("Read: %v", err)
	}
	if _, err := Watch(path, newReplacer(), nil); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Watch: %v", err)
	}
	if _, err := Read("/dev/zero"); err == nil || err.Error() != "policyfile: /dev/zero"+want {
		t.Errorf("a device: %v", err)
	}
}

func TestWatchFileBecomesPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.yaml")
		write(t, path, "policies: {a: 1/s}")
		limiter, log := newReplacer(), &lines{}
		w, err := Watch(path, limiter, nil, logTo(log, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		log.want(t, `level=INFO file=p.yaml changes="a: new, 1/second"`)
		replace(t, path, func(path string) error { return syscall.Mkfifo(path, 0o600) })
		time.Sleep(time.Minute)
		synctest.Wait()
		log.want(t, `level=ERROR error="policyfile: p.yaml: is not a regular file: copy what it gives to one, or read it yourself and use Parse"`)
		limiter.want(t, 1, show(w.Policies()))
	})
}
