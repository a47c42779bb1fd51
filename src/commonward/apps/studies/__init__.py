"""Studies for people: the file that proposes one, the page that a site reads first, the report that it ends with."""
