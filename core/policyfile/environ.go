package policyfile

import (
	"fmt"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// Environ returns the policies among known to which the environment gives other limits,
// in the order of known. The variable of a policy is prefix and its name in upper case,
// with '_' for '.' and '-'. Its value is limits separated by commas or spaces:
//
//	POLICY_SEARCH="20/second, 200/minute"
//
// An empty variable is the same as none. Variables with the prefix that belong to no
// policy are ignored. lookup is [os.LookupEnv], except in tests. Errors begin with the
// variable.
//
// It panics on a nil policy or lookup.
func Environ(prefix string, lookup func(string) (string, bool), known ...*core.Policy) ([]*core.Policy, error) {
	if lookup == nil {
		panic("policyfile: Environ: nil lookup: use os.LookupEnv")
	}
	known = latest(known)
	owner := make(map[string]*core.Policy, len(known))
	var policies []*core.Policy
	for _, k := range known {
		variable := variableName(prefix, k.Name())
		text, _ := lookup(variable)
		limits := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' })
		if len(limits) == 0 {
			continue
		}
		if other, ok := owner[variable]; ok {
			return nil, fmt.Errorf("%s: this is both policy %s and policy %s: write them in a file", variable, other, k)
		}
		owner[variable] = k
		p, err := withLimits(variable, k, limits)
		if err != nil {
			return nil, err
		}
		policies = append(policies, p)
	}
	return policies, nil
}

// variableName returns the variable of a policy: POLICY_LOGIN_BY_USER for login.by-user.
func variableName(prefix, name string) string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

func withLimits(variable string, known *core.Policy, limits []string) (*core.Policy, error) {
	c := change{reader: &reader{name: variable}, name: known.Name(), known: known}
	for _, text := range limits {
		l, err := parseLimit(text)
		if err != nil {
			return nil, c.at(0, "%v", err)
		}
		c.add(l)
	}
	return c.policy()
}
