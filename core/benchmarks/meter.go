package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// meter is what the server has spent so far.
type meter struct {
	process  time.Duration // user and system time, of all its threads
	commands map[string]spent
}

type spent struct {
	calls int64
	time  time.Duration
}

func (s *stage) meter() meter {
	// Of two sections: one that asks for all would cost more than it measures.
	m := meter{commands: map[string]spent{}}
	for name, value := range s.infoOf("cpu") {
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			m.process += time.Duration(number(value) * float64(time.Second))
		}
	}
	for name, value := range s.infoOf("commandstats") {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		var c spent
		for part := range strings.SplitSeq(value, ",") {
			switch k, v, _ := strings.Cut(part, "="); k {
			case "calls":
				c.calls = int64(number(v))
			case "usec":
				c.time = time.Duration(number(v)) * time.Microsecond
			}
		}
		m.commands[command] = c
	}
	return m
}

// since is what was spent between an earlier reading and this one, on the
// commands named and altogether. Commands within scripts have statistics of
// their own and are part of the script's, which is why they must be named.
func (m meter) since(before meter, names []string) (commands spent, process time.Duration) {
	for name, c := range m.commands {
		if slices.Contains(names, name) {
			commands.calls += c.calls - before.commands[name].calls
			commands.time += c.time - before.commands[name].time
		}
	}
	return commands, m.process - before.process
}

// infoOf are the fields of a section of INFO.
func (s *stage) infoOf(section string) map[string]string {
	text, err := s.info.Info(context.Background(), section).Result()
	if err != nil {
		s.Fatalf("INFO %s: %w", section, err)
	}
	fields := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

func (s *stage) flush() {
	if err := s.info.FlushAll(context.Background()).Err(); err != nil {
		s.Fatal(fmt.Errorf("FLUSHALL: %w", err))
	}
}

func number(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("INFO answers %q where a number belongs", s))
	}
	return n
}
