"""Speed and cost, measured beside what people would use instead: `python -m bench`."""
