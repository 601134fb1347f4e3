-- Migration: 20260118000007_assets.sql

CREATE TABLE assets (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  job_id UUID NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  type TEXT NOT NULL,
  url TEXT NOT NULL,
  storage_path TEXT NOT NULL,
  size_bytes BIGINT,
  mime_type TEXT,
  metadata_json JSONB DEFAULT '{}',
  created_at TIMESTAMPTZ DEFAULT NOW(),
  
  -- Constraints
  CONSTRAINT assets_type_check CHECK (
    type IN ('video', 'audio', 'image', 'captions', 'manifest', 'zip', 'thumbnail')
  )
);

-- Indexes
CREATE INDEX idx_assets_job ON assets(job_id);
CREATE INDEX idx_assets_type ON assets(type);

-- RLS
ALTER TABLE assets ENABLE ROW LEVEL SECURITY;

CREATE POLICY assets_select ON assets
  FOR SELECT USING (
    EXISTS (
      SELECT 1 FROM jobs WHERE jobs.id = assets.job_id AND jobs.user_id = auth.uid()
    )
  );
