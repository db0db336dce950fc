"""A video as what can be seen, heard and read in it; and the copy in which some of that is not."""
