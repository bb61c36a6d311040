"""gncodegen: a compiler for small networks."""
