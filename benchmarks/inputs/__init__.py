"""What benchmarks work on: pictures, portraits, disguises, vectors, networks. All of it is drawn or packaged."""
