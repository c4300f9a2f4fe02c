// Package realgraphs saves object graphs that nobody designed for a database:
// syntax trees and type-checked packages, parse trees of templates, regular
// expressions and web pages, a program in SSA form, containers of the standard
// library. Another process loads them and must answer the same questions, word
// for word. It has tests only.
package realgraphs
