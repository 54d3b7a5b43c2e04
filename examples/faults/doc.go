// Package faults holds no code but tests: the faults that the library is to
// survive, one test a row of the table that
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
// Its name and what must hold are in rows_test.go. The figure is what was
// measured, and a row without one fails. What must hold is asserted by the test,
// with a margin for slow machines where it is about time. Rows whose figure is a
// time don't call t.Parallel; they run one by one before those that do. All of
// them start servers of their own: packages redistest and program.
package faults
