"""The commands of `nbarec`, thin: parse, call the library, print."""
