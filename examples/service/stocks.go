package service

import (
	"net/http"
	"strings"
)

// Stock is a stock with its closing prices, oldest first. They are made up.
type Stock struct {
	Symbol   string  `json:"symbol"`
	Name     string  `json:"name"`
	Currency string  `json:"currency"`
	Prices   []Price `json:"prices,omitempty"`
}

// Price is the closing price of one day.
type Price struct {
	Date  string  `json:"date"` // YYYY-MM-DD
	Close float64 `json:"close"`
}

var stocks = []Stock{
	{"AAPL", "Apple", "USD", prices(271.01, 267.26, 262.36, 260.33, 259.04)},
	{"AMZN", "Amazon", "USD", prices(226.50, 233.06, 240.93, 241.56, 246.29)},
	{"GOOG", "Alphabet", "USD", prices(315.32, 317.32, 314.55, 322.43, 326.01)},
	{"MSFT", "Microsoft", "USD", prices(472.94, 472.85, 478.51, 483.47, 478.11)},
	{"NVDA", "Nvidia", "USD", prices(188.85, 188.12, 187.24, 189.11, 185.04)},
}

func prices(closes ...float64) []Price {
	dates := []string{"2026-01-02", "2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"}
	list := make([]Price, len(closes))
	for i, c := range closes {
		list[i] = Price{Date: dates[i], Close: c}
	}
	return list
}

// History returns the prices of one stock.
func History(symbol string) (status int, body any) {
	for _, s := range stocks {
		if strings.EqualFold(s.Symbol, symbol) {
			return http.StatusOK, s
		}
	}
	return refuse(http.StatusNotFound, "no stock has this symbol")
}

// SearchResult is the result of a search.
type SearchResult struct {
	Query   string  `json:"query"`
	Results []Stock `json:"results"` // without prices
}

// Search returns the stocks whose symbol or name contains the query.
func Search(query string) (status int, body any) {
	result := SearchResult{Query: query, Results: []Stock{}}
	for _, s := range stocks {
		if strings.Contains(strings.ToLower(s.Symbol+" "+s.Name), strings.ToLower(query)) {
			s.Prices = nil
			result.Results = append(result.Results, s)
		}
	}
	return http.StatusOK, result
}
