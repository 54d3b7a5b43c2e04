package service

import (
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Policies are the limits of the service, named as in the policies file.
type Policies struct {
	Protected *core.Policy // by client address
	Strict    *core.Policy // by client address
	Search    *core.Policy // by client address
	Stocks    *core.Policy // by API key
	Login     *core.Policy // by client address and user; successful tries are given back
	Tokens    *core.Policy // units by API key
}

func builtIn() Policies {
	return Policies{
		Protected: core.NewPolicy("protected", core.Per(10, time.Minute)),
		Strict:    core.NewPolicy("strict", core.Per(5, 10*time.Second)),
		Search:    core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100)),
		Stocks:    core.NewPolicy("stocks", core.PerMinute(100)),
		Login:     core.NewPolicy("login", core.PerMinute(5), core.Refundable(0)),
		Tokens:    core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost()),
	}
}

func (p Policies) all() []*core.Policy {
	return []*core.Policy{p.Protected, p.Strict, p.Search, p.Stocks, p.Login, p.Tokens}
}
