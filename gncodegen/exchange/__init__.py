"""Models of other frameworks in, networks out: each module needs its framework, and only when it is used."""
