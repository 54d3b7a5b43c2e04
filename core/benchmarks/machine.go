package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is where and with what figures were taken.
type machine struct {
	Date     string            `json:"date"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	System   string            `json:"system"`
	Go       string            `json:"go"`
	Redis    string            `json:"redis"`
	Versions map[string]string `json:"versions"`
}

func thisMachine() machine {
	s := newStage()
	defer s.close()
	server := s.infoOf("server")
	version, name := server["redis_version"], "Redis"
	if v, ok := server["valkey_version"]; ok {
		version, name = v, "Valkey"
	}
	m := machine{
		Date: time.Now().UTC().Format(time.DateOnly), CPU: processor(), Cores: runtime.NumCPU(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Redis: name + " " + version,
		Versions: map[string]string{},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			for _, wanted := range modules() {
				if d.Path == wanted {
					m.Versions[d.Path] = d.Version
				}
			}
		}
	}
	return m
}

// modules are those whose versions matter.
func modules() []string {
	all := []string{
		"github.com/redis/go-redis/v9", "github.com/gomodule/redigo", "github.com/gin-gonic/gin", "github.com/labstack/echo/v4",
		"github.com/gofiber/storage/redis/v3", "github.com/go-chi/httprate", "github.com/sethvargo/go-limiter", "golang.org/x/time",
	}
	for _, p := range peers {
		if p.module != "" {
			all = append(all, p.module)
		}
	}
	return all
}

// processor returns its name if the system has it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, %s; %s", m.CPU, m.Cores, m.System, m.Go, m.Redis, m.Date)
}
