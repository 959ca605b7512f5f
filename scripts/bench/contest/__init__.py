"""The same training in several libraries: what peers.py, growth.py and their workers share."""
