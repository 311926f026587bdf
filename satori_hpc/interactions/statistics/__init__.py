"""What scores are compared with, and the tests; arrays in, arrays out."""
