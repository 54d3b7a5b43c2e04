// Package faults has only tests: the faults that the library must survive. Each test is a
// row of the table that
//
//	make faults
//
// prints and writes to TABLE.md. Plain go test runs a short form of each.
//
// To add a row, write it in a file with those of its subject:
//
//	func TestRow05_KilledUnderLoad(t *testing.T) {
//		r := row(t, 5)
//		keys := scale(1_000, 100_000) // short form, full form
//		...
//		r.Figure("p99 %v, back in %v", p99, back)
//	}
//
// The name of the row and its requirement are in rows_test.go. The figure is the measured
// value, and a row without a figure fails. The test asserts the requirement, with a
// margin for slow machines if it is a time. Rows whose figure is a time don't call
// t.Parallel. They run one by one before the others. All rows start servers of their own:
// packages redistest and program.
package faults
