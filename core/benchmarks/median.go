package main

import (
	"math"
	"slices"
)

// median ignores what is not a number; of nothing it is none.
func median(values []float64) float64 {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// series are the values of one thing, round by round.
type series map[string][]float64

func (s series) add(name string, value float64) { s[name] = append(s[name], value) }

func (s series) median(name string) float64 { return median(s[name]) }

// ratio is the median of the rounds' ratios: what disturbs a round disturbs both.
func (s series) ratio(a, b string) float64 {
	n := min(len(s[a]), len(s[b]))
	ratios := make([]float64, n)
	for i := range n {
		ratios[i] = s[a][i] / s[b][i]
	}
	return median(ratios)
}
