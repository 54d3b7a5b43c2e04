// Package documents tests the code and the links in the Markdown files of this
// repository.
//
// A Go block is a whole program that compiles, or a fragment. A comment before a fragment
// names the files in testdata that it compiles in:
//
//	<!-- fragment: frameworks frameworks2 -->
//
// These files are templates. {{index . 0}} is the fragment's first line.
package documents
