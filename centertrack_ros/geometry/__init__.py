"""Image transforms, cameras, rotations and boxes. Knows nothing of networks or ROS."""
