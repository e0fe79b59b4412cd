"""What a language model knows: guessed nucleotides and types, base pairs, families."""
