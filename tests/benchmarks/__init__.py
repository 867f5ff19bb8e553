"""Tests of the measurements themselves: a wrong benchmark proves anything."""
