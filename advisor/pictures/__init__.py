"""Pages and drawings that need nothing but themselves: SVG and HTML by hand, for light and dark."""
