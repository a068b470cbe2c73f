"""Necks: what stands between a backbone's levels and a head that wants maps of one width."""
