// Exclusive is a program for whole-system tests of nodes that run a program, which they do not on Windows.
package main

func main() {}
