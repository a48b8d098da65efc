"""A run to look at: one HTML file with its success over time, its search trees and its episodes."""
