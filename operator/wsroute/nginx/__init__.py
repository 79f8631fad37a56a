"""Text for nginx: the only package that renders, through typed emitters. Pure."""
